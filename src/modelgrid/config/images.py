"""Images of engines in the configuration."""

from modelgrid.decide.spec_rules import check_image
from modelgrid.domain.errors import InvalidInput


def check_engine_image(image: str) -> str:
    """Return `image` when it is a reference and cannot be read as an option. Raises `ValueError`, for pydantic."""
    try:
        check_image(image)
    except InvalidInput as error:
        raise ValueError(f"{error.details['expected']} is expected") from None
    return image
