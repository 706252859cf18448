"""`python -m trl_r1.stages.evaluate`; also what `accelerate launch -m` starts."""

from trl_r1.stages.evaluate import main


if __name__ == "__main__":
    main()
