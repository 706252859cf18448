import pytest

from trl_r1 import R1GRPOConfig


def config(**options):
    return R1GRPOConfig("unused", use_cpu=True, bf16=False, **options)


def test_defaults_add_nothing_to_trl():
    made = config()
    assert (made.advantage, made.kl_estimator, made.kl_placement, made.kl_level) == ("trl", "k3", "loss", "token")
    assert made.reference_every is None
    assert made.kl_target is None
    assert not made.mask_dead_groups
    assert made.entropy_schedule == "constant"


def nobody(rewards, group_size):
    return rewards - rewards


def broken(rewards, group_size):
    return rewards.there_is_no_such_method()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"advantage": "group_normalised"}, "Did you mean 'group_normalized'"),
        ({"advantage": "pass_at_k", "advantage_options": {"k": 9}}, "groups of num_generations=8"),
        ({"advantage": "pass_at_k", "advantage_options": {"q": 2}}, "do not fit pass_at_k"),
        ({"advantage": "pass_at_k", "advantage_options": {"k": 8}}, "k=8 of num_generations=8 is one subset"),
        ({"advantage": "pass_at_k", "num_generations": 4}, "k=4 of num_generations=4 is one subset"),
        ({"advantage": f"{__name__}.broken"}, "fails on plain rewards of 0 and 1"),
        ({"advantage": f"{__name__}.nobody"}, "every completion gets 0, whatever its reward"),
        ({"top_k": 1}, "all completions of a group are the same"),
        ({"min_p": 1.0}, "all completions of a group are the same"),
        ({"temperature": 0.0}, "all completions of a group are the same"),
        ({"beta": -0.1}, "would reward distance"),
        ({"beta": "much"}, "is not a number"),
        ({"kl_estimator": "k4", "beta": 0.1}, "kl_estimator='k4' is unknown"),
        ({"kl_target": -1, "beta": 0.1}, "must be positive"),
        ({"kl_gain": 0, "beta": 0.1}, "must lie in"),
        ({"reference_every": 0, "beta": 0.1}, "must be 1 or more"),
        ({"reference_every": 1.5, "beta": 0.1}, "must be a whole number"),
        ({"importance_sampling_level": "product"}, "is unknown"),
        ({"entropy_schedule": "stairs", "entropy_coef": 0.1}, "entropy_schedule='stairs' is unknown"),
        ({"entropy_every": 0}, "must be 1 or more"),
        ({"verified_paths": -1}, "verified_paths=-1 must be 0 or more"),
        ({"num_generations": 3}, "divisible by num_generations"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")) as caught:
        config(**options)
    assert "\n" not in str(caught.value)


def test_credit_that_is_zero_for_some_groups_only_is_welcome():
    """k=3 of 4 credits a group with one right completion, and none with two."""
    assert config(advantage="pass_at_k", advantage_options={"k": 3}, num_generations=4).advantage == "pass_at_k"
    assert config(advantage="pass_at_k", advantage_options={"k": 1}).advantage_options == {"k": 1}
    assert config(advantage="two_tower", top_k=1, num_generations=2).top_k == 1  # compared with a critic


def test_numbers_from_yaml_may_be_text_or_whole_floats():
    made = config(beta="1e-3", reference_every=400.0, kl_target="0.05")
    assert (made.beta, made.reference_every, made.kl_target) == (0.001, 400, 0.05)
    assert isinstance(made.reference_every, int)


def test_every_option_can_be_set_from_yaml_and_from_the_command_line(tmp_path):
    from trl import TrlParser

    path = tmp_path / "config.yaml"
    path.write_text(
        "output_dir: unused\nuse_cpu: true\nbf16: false\nbeta: 0.001\nadvantage: pass_at_k\nadvantage_options: {k: 2}\n"
        "mask_dead_groups: true\nkl_estimator: k2\nkl_placement: reward\nkl_level: sequence\nkl_target: 0.1\nkl_gain: 0.2\n"
        "reference_every: 400\nentropy_schedule: step\nentropy_coef: 0.1\nentropy_coef_end: 0.01\nentropy_decrement: 0.02\n"
        "entropy_every: 5\nloss_type: grpo\nimportance_sampling_level: sequence_product\n"
    )
    (made,) = TrlParser((R1GRPOConfig,)).parse_args_and_config(["--config", str(path), "--reference_every", "10"])
    assert made.reference_every == 10
    assert made.advantage_options == {"k": 2}
    assert (made.kl_level, made.kl_gain, made.entropy_every) == ("sequence", 0.2, 5)
    (spelt,) = TrlParser((R1GRPOConfig,)).parse_args_and_config(
        [
            "--output_dir",
            "unused",
            "--use_cpu",
            "--bf16",
            "false",
            "--advantage",
            "pass_at_k",
            "--advantage_options",
            '{"k": 3}',
        ]
    )
    assert spelt.advantage_options == {"k": 3}
