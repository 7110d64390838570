"""What was found on the same images, wherever they lay then."""

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute

from nas_sv2.evaluate.fitting.evaluation import content_of


def is_of_same_data(column: InstrumentedAttribute[str], data: str) -> ColumnElement[bool]:
    """In SQL, whether a column holds `data`, `SPEC@KEY`, or its content under another spec."""
    return or_(column == data, column.endswith(f"@{content_of(data)}", autoescape=True))
