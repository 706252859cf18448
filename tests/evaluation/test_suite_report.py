"""The report of an evaluation over several datasets: which numbers stand in it, under which names."""

from samples import graded

from trl_r1.evaluation.benchmark import Evaluation, Graders
from trl_r1.evaluation.suite_report import table_section, write_suite_report


GRADERS = Graders(
    extract=lambda text: text or None,
    verify=lambda answer, gold: answer == gold,
    same_answer=lambda a, b: a == b,
    well_formed=lambda texts: [1.0 for _ in texts],
    consistency=lambda text, language: 1.0,
)


def run_of(*problems):
    return Evaluation([graded("7", list(texts), None, f"Q{i}", graders=GRADERS) for i, texts in enumerate(problems)])


def test_one_number_of_samples_is_k():
    table = table_section({"a": run_of("7778", "8888")})
    assert "| majority (cons@K) | at least one (pass@K) |" in table
    assert "| a | 2 x 4 | 37.5 [0.0, 75.0] | 50.0 [0.0, 100.0] | 50.0 [0.0, 100.0] |" in table


def test_several_numbers_of_samples_are_no_k():
    table = table_section({"a": run_of("78", "7788", ""), "b": run_of("78", "78")})
    assert "| a | 3 x 2-4 | 50.0 [50.0, 50.0] | – | – |" in table
    assert "K is the smallest: a (pass@2 91.7 [83.3, 100.0], cons@2 75.0 [50.0, 100.0])." in table
    assert "Problems without samples, in no number: 1 of a." in table


def test_one_sample_has_one_number():
    table = table_section({"a": run_of("7", "8")})
    assert "| dataset | problems x samples | pass@1 | format |" in table
    assert "majority" not in table


def test_answers_are_samples_where_nothing_is_compared(tmp_path):
    alone, other = run_of("78", "88"), run_of("77", "88")
    report = write_suite_report(tmp_path, "t", {"a": alone}, {}, [1, 2], {}).read_text()
    assert "**Samples**: right" in report
    assert "**After**" not in report
    compared = write_suite_report(tmp_path, "t", {"a": alone}, {"a": other}, [1, 2], {}).read_text()
    assert "**Before**: right" in compared
    assert "**After**: right" in compared
