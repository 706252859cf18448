"""`python -m trl_r1.stages.distill`; also what `accelerate launch -m` starts."""

from trl_r1.stages.distill import main


if __name__ == "__main__":
    main()
