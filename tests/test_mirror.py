"""tests/core mirrors emulator/core, file by file, and tests/tunnel the tunnel's pure
files (style: mirror and cover).

That each covers its counterpart is checked by ``coverage_mirror.py``, which takes
longer and is run by ``.ci/run``.
"""

from tests.coverage_mirror import TESTS, mirror_of, source_names


def test_every_pure_module_has_its_own_test_module():
    lacking = [name for name in source_names() if not mirror_of(name).is_file()]

    assert lacking == []


def test_every_core_test_module_has_its_source_module():
    expected = {mirror_of(name) for name in source_names()}

    assert set(TESTS.rglob("test_*.py")) - expected == set()
