"""A tile in plain Python, number by number and cycle by cycle, written from docs/tile.md."""

import torch

from hwlut.units.nodes import Extent
from hwlut.units.passes import row_passes

__all__ = ["PlainTile"]


def signed(value, bits):
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def code(value, format):
    return signed(value, format.bits) if format.signed else value % (1 << format.bits)


def shifted(value, by, rounding):
    whole, rest = divmod(value, 1 << by)
    twice = 2 * rest - (1 << by)  # its sign is that of the rest less a half
    if rounding == 0:
        return whole + (by > 0 and twice >= 0)
    if rounding == 1:
        return whole + (by > 0 and (twice > 0 or (twice == 0 and whole % 2 == 1)))
    return whole


class Nest:
    """Counters and addresses that go along."""

    def __init__(self, sizes, streams):
        self.sizes, self.at = sizes, [0] * len(sizes)
        self.deltas = [deltas for _, deltas in streams]
        self.addresses = [base for base, _ in streams]

    def step(self):
        for level, size in enumerate(self.sizes):
            if self.at[level] < size - 1:
                self.at[level] += 1
                self.at[:level] = [0] * level
                moved = [(a + d[level]) % (1 << 24) for a, d in zip(self.addresses, self.deltas)]
                self.addresses = moved
                return


class PlainTile:
    """Runs words and data; then has results (rows of numbers), last, marks (number, cycles, commands), cycles."""

    def __init__(self, tile):
        self.tile = tile
        self.registers = [0] * 256
        self.values, self.inputs, self.operands, self.tables = {}, {}, {}, {}
        self.weights, self.constants = {}, {}
        self.results, self.last, self.marks = [], [], []

    def run(self, words, data):
        data = iter(data)
        cycle, computing, loading = 0, 0, 0  # and the cycles that are left of each
        for commands, word in enumerate(int(each) for each in words):
            opcode, argument, value = word >> 56, word >> 48 & 255, word & (1 << 48) - 1
            while (
                (opcode in (2, 3, 5, 6) and computing)
                or (opcode == 3 and argument == 1 and loading)
                or (opcode == 4 and (loading or (argument >= 128 and computing)))
                or (opcode == 6 and loading)
            ):
                cycle, computing, loading = cycle + 1, max(0, computing - 1), max(0, loading - 1)
            cycle, computing, loading = cycle + 1, max(0, computing - 1), max(0, loading - 1)
            if opcode == 2:
                self.registers[argument] = value
            elif opcode == 3:
                computing = self.compute()
            elif opcode == 4:
                loading = self.load(argument % 128, value % (1 << 24), value >> 24, data)
            elif opcode == 5:
                self.marks.append((value, cycle - 1, commands))
        self.cycles = cycle
        assert next(data, None) is None

    # Loads.

    def load(self, target, address, count, data):
        tile = self.tile
        bits = (tile.columns * tile.weight_bits, tile.constant_bits, tile.table_outputs, 8 * tile.beat_bytes)[target]
        parts = -(-bits // (8 * tile.beat_bytes))
        for place in range(address, address + count):
            word = int.from_bytes(b"".join(bytes(next(data)) for _ in range(parts)), "little") % (1 << bits)
            if target == 0:
                self.weights[place] = word
            elif target == 1:
                offset = signed(word, tile.offset_bits)
                word >>= tile.offset_bits
                self.constants[place] = offset, word % (1 << tile.factor_bits), word >> tile.factor_bits
            elif target == 2:
                self.tables[place] = signed(word, bits)
            else:
                lane = 8 * tile.lane_bytes
                self.inputs[place] = [signed(word >> lane * row, tile.input_bits) for row in range(tile.rows)]
        return parts * count

    # Computing.

    def field(self, low, bits):
        return self.registers[0x4B] >> low & (1 << bits) - 1

    def nest(self, sizes, *streams):
        loops, held = self.tile.loops, self.registers
        found = [(held[base] % (1 << 24), held[deltas : deltas + loops]) for deltas, base in streams]
        return Nest([size % (1 << 24) + 1 for size in held[sizes : sizes + loops]], found)

    def compute(self):
        tile, held = self.tile, self.registers
        mode = self.field(0, 2)
        feed = self.nest(0x00, (0x18, 0x40), (0x20, 0x41))
        step = self.nest(0x08, (0x28, 0x42), (0x30, 0x43))
        store = self.nest(0x10, (0x38, 0x44))
        count, period, columns = held[0x48] + 1, held[0x49] + 1, held[0x4A] + 1
        total = 1
        for size in feed.sizes:
            total *= size
        tree = tile.encoder is not None and tile.encoder.value == "tree"
        row_groups = [[] for _ in range(tile.rows)]
        for _ in range(total // count):
            numbers = []  # of the group: x of each row, y of each row, and the constant
            fed = []
            for _ in range(count):
                x_address, w_address = feed.addresses
                constant = self.constants.get(step.addresses[1], (0, 0, 0))
                if mode == 3 and tree and self.field(10, 1):
                    x_address += constant[0]
                    x_address %= len_of(tile.inputs if self.field(2, 1) else tile.values)
                source = self.inputs if self.field(2, 1) else self.values
                x = source.get(x_address, [0] * tile.rows)
                if mode == 0:
                    numbers.append((x, *self.beside(step)))
                    step.step()
                elif mode == 3 and tree:
                    step.step()
                fed.append((x, w_address))
                feed.step()
            if mode in (1, 2):
                for column in range(columns):
                    sums = [self.sum(mode, [(x[row], w) for x, w in fed], row, column) for row in range(tile.rows)]
                    numbers.append((sums, *self.beside(step)))
                    step.step()
            elif mode == 3:
                codes = [self.encoded([(x[row], w) for x, w in fed], tree) for row in range(tile.rows)]
                numbers.append((codes, *self.beside(step)))
                if not tree:
                    step.step()
            for row in range(tile.rows):
                found = self.lane(row, [(x[row], y[row], constant) for x, y, constant in numbers])
                row_groups[row].append(found)
            self.store([groups[-1] for groups in row_groups], store)
        if self.field(39, 2) == 2:
            self.last[-1] = True

        # When it is over.
        groups, longer = total // count, max(count, period)
        cycles = (groups - 1) * longer + count
        if mode in (1, 2):
            cycles += 1 + columns
        elif mode == 3:
            cycles += 3 if tree else 4
        if self.field(26, 5):
            unit = tile.operators[self.field(26, 5) - 1]
            cycles += self.latency(unit, count if mode == 0 else 1)
        return cycles + 6

    @staticmethod
    def latency(unit, count):
        if getattr(unit, "extent", None) is not Extent.ROWS:
            return unit.cost().latency
        plan = row_passes(unit)
        return plan.latency + (count - 1) * (len(plan.passes) - 1)

    def beside(self, step):
        """y of each row, and the constant."""
        rows, constant = self.tile.rows, self.constants.get(step.addresses[1], (0, 0, 0))
        source = self.field(8, 2)
        if source == 0:
            return [signed(self.registers[0x50], 48)] * rows, constant
        if source == 1:
            return [constant[0]] * rows, constant
        return self.values.get(step.addresses[0], [0] * rows), constant

    def sum(self, mode, fed, row, column):
        tile, total = self.tile, 0
        for x, w in fed:
            if mode == 2:
                word = self.weights.get(w, 0) >> column * tile.weight_bits
                total += signed(word >> x % tile.entries * tile.entry_bits, tile.entry_bits)
                continue
            unit = tile.multipliers[self.field(4, 4)]
            word = self.weights.get(w, 0) >> column * tile.weight_bits
            if self.field(3, 1):
                word = self.operands.get((w, column), [0] * tile.rows)[row]
            a, b = code(x, unit.a), code(word, unit.b)
            total += a * b if unit.family.value == "exact" else int(unit(torch.tensor(a), torch.tensor(b)))
        return signed(total, tile.accumulator_bits)

    def encoded(self, fed, tree):
        k = self.tile.entries
        if tree:
            node = 0
            for x, w in fed:
                threshold = signed(self.weights.get(w, 0) >> 9 * node, 9)
                node = 2 * node + 1 + (signed(x, 8) >= threshold)
            return node - (k - 1)
        found = []
        for index in range(k):
            away = [abs(signed(x, 8) - signed(self.weights.get(w, 0) >> 8 * index, 8)) for x, w in fed]
            if self.tile.encoder.value == "chebyshev":
                found.append(max(away))
            else:
                found.append(sum(each**2 if self.tile.encoder.value == "l2" else each for each in away))
        return found.index(min(found))

    def lane(self, row, numbers):
        """Results (number, whether it is written) of a group's numbers."""
        tile, held = self.tile, self.registers
        bits = tile.lane_bits
        tree = self.field(0, 2) == 3 and tile.encoder.value == "tree"
        found, constants, written = [], [], []
        for x, y, constant in numbers:
            y = signed(y, bits)
            written.append(not self.field(41, 1) or y != 0)
            if self.field(10, 1) and not tree:
                x = signed(x + constant[0], bits)
            found.append(self.operation(*((y, x) if self.field(15, 1) else (x, y)), bits))
            constants.append(constant)
        if self.field(24, 2):
            found = [signed(sum(found), bits) if self.field(24, 2) == 1 else max(found)]
            constants, written = constants[-1:], written[-1:]
        if number := self.field(26, 5):
            unit = tile.operators[number - 1]
            found = unit(torch.tensor([code(each, unit.input) for each in found])).tolist()
        results = []
        for x, constant in zip(found, constants):
            x = min(max(x, signed(held[0x51], 48)), signed(held[0x52], 48))
            if self.field(31, 2):
                factor, shift = (held[0x53], held[0x54]) if self.field(31, 2) == 1 else constant[1:]
                x = shifted(signed(x, 33) * (factor % (1 << tile.factor_bits)), shift % 64, self.field(33, 2)) + signed(
                    held[0x55], 48
                )
                x = min(max(x, signed(held[0x56], 48)), signed(held[0x57], 48))
            if table := self.field(35, 4):
                x = self.tables.get((table - 1 << tile.table_inputs) + x % (1 << tile.table_inputs), 0)
            results.append(signed(x, tile.value_bits))
        return list(zip(results, written))

    def operation(self, x, y, bits):
        by, kept = y % 64, self.field(18, 6)
        leading = max((x % (1 << bits)).bit_length() - 1, 0)
        found = {
            0: lambda: x,
            1: lambda: y,
            2: lambda: x + y,
            3: lambda: x - y,
            4: lambda: x * y,
            5: lambda: int(x < y),
            6: lambda: int(x == y),
            7: lambda: x << by,
            8: lambda: shifted(x, by, self.field(16, 2)),
            9: lambda: leading,
            10: lambda: (x >> by) % (1 << kept),
        }
        return signed(found[self.field(11, 4)](), bits)

    def store(self, rows, store):
        """Results of a group, of each row."""
        tile = self.tile
        for results in zip(*rows):
            (z,) = store.addresses
            if self.field(39, 2) == 2:
                self.results.append([number for number, _ in results])
                self.last.append(False)
            else:
                memory, place = self.values, z
                if self.field(39, 2) == 1:
                    memory, place = self.operands, divmod(z, len_of(tile.columns))
                before = memory.get(place, [0] * tile.rows)
                memory[place] = [new if there else old for (new, there), old in zip(results, before)]
            store.step()


def len_of(words):
    """What the low bits of an address tell apart."""
    return 1 << (words - 1).bit_length()
