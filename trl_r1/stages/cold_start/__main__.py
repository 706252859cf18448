"""`python -m trl_r1.stages.cold_start`; also what `accelerate launch -m` starts."""

from trl_r1.stages.cold_start import main


if __name__ == "__main__":
    main()
