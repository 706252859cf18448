"""`python -m trl_r1.stages.all_scenario_rl`; also what `accelerate launch -m` starts."""

from trl_r1.stages.all_scenario_rl import main


if __name__ == "__main__":
    main()
