"""What a sweep.toml says, and what it cannot mean."""

import math

import pytest

from converter import _toml
from dgtool.sweep import _check, options_of_a_cell
from parity import UsageError
from parity.sweep.file import load_matrix, parse_matrix
from parity.sweep.matrix import Option

OPTIONS = options_of_a_cell()


def matrix(text):
    return parse_matrix(_toml.loads(text), OPTIONS)


def arguments(text):
    return [" ".join(cell.arguments) for cell in matrix(text).cells]


def test_the_options_are_those_of_check_bp():
    assert OPTIONS["seed-a"] == Option("--seed-a")
    assert OPTIONS["oracle"] == Option("--oracle", "--no-oracle", "switch")
    assert OPTIONS["lockstep"] == Option("--lockstep", "", "switch")
    assert OPTIONS["weights"] == Option("--weights", kind="file")
    assert OPTIONS["reference"].kind == "file"
    assert OPTIONS["port-python"].kind == "command"
    assert OPTIONS["port-env"] == Option("--port-env", many=True)
    assert OPTIONS["set"] == Option("--set", many=True, typed=True)
    assert not {"out", "json", "quiet", "report", "keep", "lang"} & OPTIONS.keys()


def test_cells_are_the_combinations_of_the_axes_in_order():
    assert arguments(
        "options.iters = 2\n[axes]\nseed = [1, 0]\noracle = [true, false]\nlockstep = [false]"
    ) == [
        "--iters=2 --oracle --seed=1",
        "--iters=2 --no-oracle --seed=1",
        "--iters=2 --oracle --seed=0",
        "--iters=2 --no-oracle --seed=0",
    ]


def test_an_option_that_is_repeated_has_a_name_and_texts_keep_their_type():
    text = '[options]\nset.size = "8"\nport-env = { A = "1", B = 2 }\n[axes]\nset.deep = [true]\nset.rate = [0.5, 1]'
    first, second = arguments(text)
    assert first == '--port-env=A=1 --port-env=B=2 --set=deep=true --set=rate=0.5 --set=size="8"'
    assert second.endswith('--set=rate=1 --set=size="8"')


def test_numbers_that_are_not_finite_are_written_as_in_toml():
    texts = [each.arguments[0] for each in matrix("axes.set.rate = [inf, nan, 0.5, true]").cells]
    assert texts == ["--set=rate=inf", "--set=rate=nan", "--set=rate=0.5", "--set=rate=true"]


def test_an_axis_of_one_s_own_sets_several_options():
    made = matrix(
        """
        options.width = 8
        [axes]
        seed = [0, 1]
        [axes.case]
        "narrow, trained" = { mode = "train", width = 4 }
        mine = { pair = "my-pair", weights = "a.pth", port-python = "env/bin/python" }
        """
    )
    assert [cell.at for cell in made.cells][:2] == [
        {"seed": "0", "case": "narrow, trained"},
        {"seed": "0", "case": "mine"},
    ]
    assert made.cells[0].arguments == ("--mode=train", "--seed=0", "--width=4")
    mine = made.cells[1]
    assert (mine.pair, [*map(str, mine.files)], mine.commands) == ("my-pair", ["a.pth"], ("env/bin/python",))


CASES = """
[axes]
iters = [1, 2, 3]
[axes.case]
a = { seed = 1 }
b = { seed = 2 }
"""


def test_cells_are_left_out_and_added():
    more = """
    [[exclude]]
    case = "a"
    iters = [2, 3]
    [[exclude]]
    iters = 1
    [[include]]
    case = "a"
    iters = 7
    set.deep = true
    [[include]]
    iters = 2
    case = "b"
    """
    assert arguments(CASES + more) == [
        "--iters=2 --seed=2",
        "--iters=3 --seed=2",
        "--iters=7 --seed=1 --set=deep=true",
    ]
    assert matrix(CASES + more).cells[2].at == {"case": "a", "iters": "7", "set.deep": "true"}


def test_without_axes_there_is_one_cell_or_those_that_are_listed():
    assert arguments("options.iters = 1") == ["--iters=1"]
    assert arguments("[[include]]\niters = 1\n[[include]]\niters = 2") == ["--iters=1", "--iters=2"]


def test_rows_of_an_axis_are_in_its_order():
    rows = matrix(CASES + '[[exclude]]\ncase = "b"\niters = 2').rows("iters")
    assert [[cell.at["iters"] for cell in row] for row in rows] == [["1", "2", "3"], ["1", "3"]]


@pytest.mark.parametrize(
    ("text", "seconds", "count"),
    [
        ('timeout = "1.5min"', 90, 0),
        ('memory = "8GB"', 0, 8e9),
        ('memory = "2 GiB"', 0, 2**31),
        ("options.iters = 1", 0, 0),
    ],
)
def test_limits_have_units(text, seconds, count):
    made = matrix(text)
    assert math.isclose(made.timeout_seconds, seconds)
    assert made.memory_bytes == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[axe]", "unknown name 'axe' (did you mean 'axes'?)"),
        ("axes.iter = [1]", "unknown name 'iter' (did you mean 'iters'?)"),
        ("options.zzz = 1", "unknown name 'zzz' (there are iters, pair, set,"),
        ("options.out = 'x'", "unknown name 'out'"),
        ("options = 1", "[options] gives values to options, as in seed = 1"),
        ("options.set = 1", "[options] set: is written as set.NAME = 1"),
        ("options.'seed.a' = 1", "[options] seed.a: is written as seed = 1"),
        ("options.lockstep = 1", "[options] lockstep: is true or false"),
        ("options.iters = true", "[options] iters: is a number or a text"),
        ("options.seed = [1]", "[options] seed: is a number or a text"),
        ("axes = 1", "[axes] gives lists of values to options"),
        ("axes.seed = 1", "[axes] seed: is a list of values, or a table of them"),
        ("axes.seed = []", "[axes] seed: is a list of values, or a table of them"),
        ("axes.seed = [1, '1']", "[axes] seed: has a value twice"),
        ("[axes.case]\na = { seed = 1 }\nb = { seed = 1 }", "[axes] case: has a value twice"),
        ("axes.case.a = 1", "unknown name 'case'"),
        ("axes.case.a.sed = 1", "unknown name 'sed' (did you mean 'seed'?)"),
        (CASES + "[axes.other]\nx = { seed = 3 }", "'seed' is set by two axes, case and other"),
        (CASES + "[[exclude]]\ncas = 'a'", "unknown name 'cas' (did you mean 'case'?)"),
        (CASES + "[[exclude]]\ncase = 'c'", "unknown name 'c' (there are a, b)"),
        (CASES + "[[include]]\ncase = 'c'", "unknown name 'c' (there are a, b)"),
        (CASES + "[[include]]\nsed = 1", "unknown name 'sed' (did you mean 'seed'?)"),
        ("exclude = 1", "[[exclude]] gives values to axes"),
        ("axes.seed = [1]\n[[exclude]]\nseed = 1", "there is no cell: give [axes] values"),
        ("", "there is no cell: give [axes] values, or [[include]] cells"),
        ("order = 'seed'", "unknown name 'seed' (there are )"),
        ("order = 1", "'order' is a list of axes"),
        ("reports = 1", "'reports' is true or false"),
        ("timeout = 5", "'timeout' is written as \"10min\" (units: s, min, h)"),
        ("timeout = '5 days'", "'timeout' is written as"),
        (f"memory = '{'9' * 400}GB'", "'memory' is written as"),
        (f"timeout = '{'9' * 400}h'", "'timeout' is written as"),
        ("memory = '0GB'", "'memory' is written as \"8GB\" (units: KB,"),
        ("axes.mode = ['trian']", "'trian' is not one of 'eval', 'train'"),
        ("axes.iters = [0]", "Invalid value for '--iters'"),
        ("axes.width = ['wide']", "Invalid value for '--width'"),
        ("axes.seed =", "Invalid value"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_file_s_name(text, message, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_matrix(path, OPTIONS, _check)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: No such file or directory$"):
        load_matrix(tmp_path / "none.toml", OPTIONS, _check)
    with pytest.raises(UsageError, match=r": Is a directory$"):
        load_matrix(tmp_path, OPTIONS, _check)
