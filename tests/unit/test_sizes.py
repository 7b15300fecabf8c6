"""Sizes mean what they mean in redis.conf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.sizes import format_bytes, parse_bytes, write_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", 1000),
        ("1kb", 1024),
        ("256mb", 256 * 1024**2),
        ("256MB", 256 * 1024**2),
        ("256m", 256 * 1000**2),
        ("1.5gb", 1536 * 1024**2),
        ("2 GiB", 2 * 1024**3),
    ],
)
def test_a_size_is_read_as_the_server_reads_it(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "mb", "-1mb", "1tb", "1 gibi", "1e9", "0x10", "9" * 400, "1..5mb", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write for example 256mb or 2gb"):
        parse_bytes(text)


def test_numbers_pass_untouched() -> None:
    assert parse_bytes(268435456) == 268435456


@given(st.integers(0, 1024**5))
def test_a_written_size_reads_back_exactly(size: int) -> None:
    assert parse_bytes(write_bytes(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (256 * 1024**2, "256.0 MiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes_for_people_have_one_decimal(size: int, text: str) -> None:
    assert format_bytes(size) == text
