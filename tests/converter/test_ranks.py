"""Which part of a conversion a process is to make: said, or told by a launcher."""

import pytest

from converter import Part, UsageError
from converter.ranks import part_of_environment


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_everything_once(count):
    shares = [Part(number, count).share(range(5)) for number in range(1, count + 1)]
    assert [item for share in shares for item in share] == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/3", "'0/3' is no part; W parts are counted from 1/W to W/W"),
        ("4/3", "'4/3' is no part"),
        ("1/0", "'1/0' is no part"),
        ("two", "'two' is no part; write --part 2/3 for the second of three, or --part env"),
        ("-1/3", "'-1/3' is no part"),
        ("1/3 ", "'1/3 ' is no part"),
    ],
)
def test_what_is_no_part(text, message):
    with pytest.raises(UsageError) as raised:
        Part.parse(text)
    assert str(raised.value).startswith(message)


ARRAY = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "3"}


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"RANK": "0", "WORLD_SIZE": "3"}, "1/3"),
        ({"PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2"}, "2/2"),
        ({"SLURM_ARRAY_TASK_ID": "3", **ARRAY}, "3/3"),
        (
            {"SLURM_ARRAY_TASK_ID": "0", **ARRAY, "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "2"},
            "1/3",
        ),
        ({"RANK": "1", "WORLD_SIZE": "2", "PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2"}, "2/2"),
    ],
)
def test_launchers_tell_the_part(environment, part):
    assert str(part_of_environment(environment)) == part


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HOME": "/"}, "no launcher has told which part this is (torchrun: RANK, WORLD_SIZE; paddle."),
        ({"RANK": "0"}, "torchrun has not told which part this is (RANK=0, WORLD_SIZE=)"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "torchrun has not told which part this is (RANK=x, WORLD_SIZE=2)"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "torchrun has ranks with gaps (RANK=2, WORLD_SIZE=2)"),
        (
            {"SLURM_ARRAY_TASK_ID": "5", **ARRAY, "SLURM_ARRAY_TASK_MAX": "5"},
            "a Slurm array has ranks with gaps",
        ),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "2", **ARRAY},
            "torchrun part 1/2 and a Slurm array part 2/3: which is meant?",
        ),
    ],
)
def test_what_launchers_leave_open_is_not_guessed(environment, message):
    with pytest.raises(UsageError) as raised:
        part_of_environment(environment)
    assert str(raised.value).startswith(message)
    assert "rite --part 2/3" in str(raised.value)
