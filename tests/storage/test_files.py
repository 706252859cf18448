"""Lines of JSON outlive the process that writes them: half a line costs that line and no other."""

from trl_r1.storage.files import append_json_lines, read_json_lines


def test_a_line_that_was_cut_is_not_joined_to_the_next(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_json_lines(path, [{"n": 1}, {"n": 2}])
    path.write_bytes(path.read_bytes()[:-4])  # killed while it wrote the second
    append_json_lines(path, [{"n": 3, "text": "答\ud800"}])
    assert read_json_lines(path) == [{"n": 1}, {"n": 3, "text": "答\ud800"}]
