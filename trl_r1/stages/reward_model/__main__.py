"""`python -m trl_r1.stages.reward_model`; also what `accelerate launch -m` starts."""

from trl_r1.stages.reward_model import main


if __name__ == "__main__":
    main()
