"""hwlut eval: how far a table is from its function, or a multiplier from the exact product."""

from hwlut.cli.screen import columns, emit
from hwlut.cli.table import Domain, Json, TablePath, open_table

__all__ = ["evaluate"]


def evaluate(table: TablePath, domain: Domain = None, as_json: Json = False) -> None:
    """Compare every result with the function, at each scale; the products of a multiplier with the exact ones."""
    from hwlut.cli.errors import errors

    opened = open_table(table)
    found = errors(opened.unit, domain)
    if as_json:
        emit(opened.source | found.content)
        return
    print(found.title)
    columns(found.rows, found.headers)
    if found.summary is not None:
        print(found.summary)
