"""The report's section of an experiment file: unknown names are errors that name the nearest."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from splatbench.report.settings import ReportSettings


def test_defaults_need_nothing() -> None:
    settings = ReportSettings.model_validate({})
    assert settings.tables is None and settings.rank_by == "psnr" and settings.pictures.count == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tables": [{"reference": "air_tabel1"}]}, "did you mean 'air_table1'"),
        ({"tables": [{"referense": "air_table1"}]}, "Extra inputs"),
        ({"rank_by": "psrn"}, "did you mean 'psnr'"),
        ({"decimals": {"ms_sim": 3}}, "did you mean 'ms_ssim'"),
        ({"decimals": {"psnr": 20}}, "must be 0 to 8"),
        ({"pictures": {"count": -1}}, "greater than or equal to 0"),
        ({"picture": {}}, "Extra inputs"),
    ],
)
def test_mistakes_are_errors(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ReportSettings.model_validate(content)
