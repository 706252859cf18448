"""The smallest mini model as a folder."""

import pytest


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory):
    from trl_r1.mini.model import build_base

    return build_base(tmp_path_factory.mktemp("review") / "base", 0, "tiny")
