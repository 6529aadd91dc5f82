"""Words of the memories of values and operands, given to values while they live."""

from hwlut.accel.compiler.places import Space

__all__ = ["Full", "Storage"]


class Full(ValueError):
    """No room: how many words would be needed, and how many there are."""

    def __init__(self, space: Space, needed: int, size: int):
        super().__init__(f"needs {needed} words of {space.name.lower()}; the tile has {size}")


class _Memory:
    """A memory of `size` words, of which the first free ones are given that suffice."""

    def __init__(self, size: int):
        self.size = size
        self.held: dict[int, int] = {}  # end by start

    def gaps(self) -> list[tuple[int, int]]:
        """What is free: where it begins and ends."""
        edges = [0, *(edge for held in sorted(self.held.items()) for edge in held), self.size]
        return list(zip(edges[::2], edges[1::2]))


class Storage:
    """Memories by their space, from which an owner's words are freed by its name, and others together."""

    def __init__(self, sizes: dict[Space, int]):
        self._memories = {space: _Memory(size) for space, size in sizes.items()}
        self._owned: dict[str, tuple[Space, int]] = {}
        self._temporary: list[tuple[Space, int]] = []

    def most(self, space: Space) -> int:
        """The most words that could be allocated."""
        return max(stop - start for start, stop in self._memories[space].gaps())

    def allocate(self, space: Space, count: int, owner: str | None = None) -> int:
        """The first of `count` words, for an owner or until `free_temporary`. Raises Full."""
        memory = self._memories[space]
        start = next((start for start, stop in memory.gaps() if stop - start >= count), None)
        if start is None:
            used = sum(stop - start for start, stop in memory.held.items())
            raise Full(space, max(used, max(memory.held.values(), default=0)) + count, memory.size)
        memory.held[start] = start + count
        if owner is None:
            self._temporary.append((space, start))
        else:
            self._owned[owner] = space, start
        return start

    def free(self, owner: str) -> None:
        """Gives the words of an owner back, where it has some."""
        if owner in self._owned:
            self._free(*self._owned.pop(owner))

    def free_temporary(self) -> None:
        """Gives words without an owner back."""
        while self._temporary:
            self._free(*self._temporary.pop())

    def _free(self, space: Space, start: int) -> None:
        del self._memories[space].held[start]
