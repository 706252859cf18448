"""The stages of DeepSeek-R1, one runnable module each: `python -m trl_r1.stages.<name> --config ...`."""
