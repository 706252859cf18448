"""`python -m trl_r1.stages.rejection_sampling`; also what `accelerate launch -m` starts."""

from trl_r1.stages.rejection_sampling import main


if __name__ == "__main__":
    main()
