"""Exact multipliers as text in the styles that circuits are published in, and netlists evaluated with plain ints."""

import itertools


def columns(a_bits, b_bits, signed):
    """Names of what each column of an array multiplier adds; nand makes the complements of Baugh and Wooley's form."""
    width = a_bits + b_bits
    gates, added = [], [[] for _ in range(width)]
    for i, j in itertools.product(range(a_bits), range(b_bits)):
        kind = "nand" if signed and (i == a_bits - 1) != (j == b_bits - 1) else "and"
        gates.append((kind, (f"p_{i}_{j}",), (f"a{i}", f"b{j}")))
        added[i + j].append(f"p_{i}_{j}")
    for place in (a_bits - 1, b_bits - 1, width - 1) if signed else ():
        added[place].append("1")
    return gates, added


def array(a_bits, b_bits, signed):
    """Gates (kind, outputs, inputs) of an exact multiplier, and its outputs, least significant first."""
    gates, added = columns(a_bits, b_bits, signed)
    count = itertools.count()
    for place, column in enumerate(added):
        while len(column) > 1:
            taken = [column.pop(0) for _ in range(min(3, len(column)))]
            names = tuple(f"{letter}_{next(count)}" for letter in "sc")
            gates.append(("fa" if len(taken) == 3 else "ha", names, tuple(taken)))
            column.append(names[0])
            if place + 1 < len(added):
                added[place + 1].append(names[1])
    return gates, [column[0] if column else "0" for column in added]


def lanes(pairs, bits):
    """Node values by node number: a big integer each, whose bit n belongs to the n-th pair."""
    values = [0, (1 << len(pairs)) - 1]
    for which, width in enumerate(bits):
        for place in range(width):
            values.append(int("".join(str(pair[which] >> place & 1) for pair in reversed(pairs)), 2))
    return values


def products(unit, pairs):
    """What the netlist computes of each pair of codes, by its definition alone."""
    values = lanes(pairs, (unit.a.bits, unit.b.bits))
    for truth, x, y in [] if unit.gates is None else unit.gates.tolist():
        p, q, every = values[x], values[y], values[1]
        terms = (~p & ~q, p & ~q, ~p & q, p & q)
        values.append(sum(term & every for bit, term in enumerate(terms) if truth >> bit & 1))
    texts = [f"{values[node]:0{len(pairs)}b}"[::-1] for node in unit.outputs]
    found = [sum((text[n] == "1") << place for place, text in enumerate(texts)) for n in range(len(pairs))]
    top = 1 << len(unit.outputs)
    return [n - top if (unit.a.signed or unit.b.signed) and n >= top // 2 else n for n in found]


def every_pair(unit):
    return list(itertools.product(range(unit.a.min, unit.a.max + 1), range(unit.b.min, unit.b.max + 1)))


C_GATES = {
    "and": ("{0} & {1}",),
    "ha": ("{0} ^ {1}", "{0} & {1}"),
    "fa": ("({0} ^ {1}) ^ {2}", "({0} & {1}) | ({1} & {2}) | ({0} & {2})"),
}


def c_body(a_bits, b_bits, signed, bit, kind, nand="({0} & {1}) ^ 1"):
    """Statements of an exact multiplier, one a gate, and the outputs; `bit` writes an operand's bit."""
    gates, outputs = array(a_bits, b_bits, signed)

    def operand(name):
        return bit(name[0].upper(), int(name[1:])) if name[0] in "ab" else name

    lines = []
    for gate, names, inputs in gates:
        for name, logic in zip(names, C_GATES.get(gate, (nand,))):
            lines.append(f"  {kind}{name} = {logic.format(*map(operand, inputs))};")
    return lines, [operand(name) for name in outputs]


def c_shifted(a_bits, b_bits, signed, name, type="uint64_t", parameters="const uint64_t B,const uint64_t A"):
    """Bits by shifts, all locals declared first, the result gathered by |=."""
    gates, _ = array(a_bits, b_bits, signed)
    lines, outputs = c_body(a_bits, b_bits, signed, lambda who, place: f"(({who} >> {place})&1)", "")
    declared = ", ".join(output for _, names, _ in gates for output in names)
    gathered = [f"  O |= ({output}&1) << {place};" for place, output in enumerate(outputs)]
    head = ["/* a circuit */", "// MAE% = 0.00 %", "// WCE = 0", "#include <stdint.h>", "#include <stdlib.h>", ""]
    body = [f"  uint64_t O, {declared};   int avg=0;", "", *lines, "  O = 0;", *gathered, "  return O;"]
    return "\n".join([*head, f"{type} {name}({parameters})", "{", *body, "}", ""])


def c_arrays(a_bits, b_bits, signed, name):
    """Bits in arrays, each gate a declaration."""
    lines, outputs = c_body(a_bits, b_bits, signed, lambda who, place: f"w{who.lower()}[{place}]", "int ")
    taken = [
        f"  w{who}[{place}] = ({who} >> {place}) & 0x01;"
        for who, width in (("a", a_bits), ("b", b_bits))
        for place in range(width)
    ]
    gathered = [f"  y |=  ({output} & 0x01) << {place}; // output" for place, output in enumerate(outputs)]
    body = [
        f"  int wa[{a_bits}];",
        f"  int wb[{b_bits}];",
        "  uint64_t y = 0;",
        *taken,
        *lines,
        *gathered,
        "   return y;",
    ]
    return "\n".join([f"uint64_t {name}(uint64_t a, uint64_t b) {{", *body, "}", ""])


def c_inverted(a_bits, b_bits, signed, name, type="uint16_t", operand="uint8_t"):
    """Lower-case operands, bits as locals, complements of whole bytes."""
    lines, outputs = c_body(
        a_bits, b_bits, signed, lambda who, place: f"{who.lower()}{place}", f"{operand} ", "~({0} & {1})"
    )
    taken = [
        f"  {operand} {who}{place} = ({who} >> {place}) & 0x1;"
        for who, width in (("a", a_bits), ("b", b_bits))
        for place in range(width)
    ]
    gathered = [f"  c |= ({output} & 0x1) << {place};" for place, output in enumerate(outputs)]
    head = f"{type} {name}({operand} a, {operand} b)"
    return "\n".join([head, "{", f"  {type} c = 0;", *taken, *lines, *gathered, "", "  return c;", "}", ""])


def c_helpers(a_bits, b_bits, signed, name):
    """Adders as functions that stand first."""
    gates, outputs = array(a_bits, b_bits, signed)
    head = [
        "static inline uint8_t total(uint8_t x, uint8_t y, uint8_t z) { return x ^ y ^ z; }",
        "static inline uint8_t carry(uint8_t x, uint8_t y, uint8_t z)",
        "{",
        "  uint8_t both = x & y;",
        "  return both | (z & (total(x, y, 0)));",
        "}",
        "uint8_t bit(int x, const int y) { return x & 1 & y; }",
    ]

    def operand(who):
        return f"({who[0].upper()} >> {who[1:]})" if who[0] in "ab" else who

    lines = []
    for gate, names, inputs in gates:
        given = [operand(who) for who in inputs]
        if gate in ("and", "nand"):
            lines.append(f"  uint8_t {names[0]} = bit({given[0]}, {given[1]}){' ^ 1' * (gate == 'nand')};")
        else:
            three = ", ".join([*given, "0"][:3])
            lines += [f"  uint8_t {names[0]} = total({three});", f"  uint8_t {names[1]} = carry({three});"]
    gathered = [f"  O += (int32_t){operand(output)} * {1 << place};" for place, output in enumerate(outputs)]
    return "\n".join(
        [
            *head,
            f"int32_t {name}(int16_t A, int16_t B) {{",
            "  int32_t O = 0;",
            *lines,
            *gathered,
            "  return O;",
            "}",
            "",
        ]
    )


def verilog(a_bits, b_bits, signed, name, cells=""):
    """Assignments alone, or cells whose names start with `cells`, with their modules where that is not empty."""
    gates, outputs = array(a_bits, b_bits, signed)

    def net(who):
        return f"{who[0].upper()}[{who[1:]}]" if who[0] in "ab" else f"1'b{who}" if who in "01" else who

    lines, count = [], 0
    for gate, names, inputs in gates:
        given = [net(who) for who in inputs]
        count += 1
        if gate in ("and", "nand"):
            lines.append(f"  assign {names[0]} = {'~' * (gate == 'nand')}({given[0]} & {given[1]});")
        elif cells is None:
            three = " ^ ".join(given)
            carry = " & ".join(given) if gate == "ha" else "({0} & {1}) | ({1} & {2}) | ({0} & {2})".format(*given)
            lines += [f"  assign {names[0]} = {three};", f"  assign {names[1]} = {carry};"]
        else:
            ports = ", ".join(f".{port}({value})" for port, value in zip("ABC", given))
            lines.append(f"  {cells}{gate.upper()}X1 U{count} ({ports}, .YS({names[0]}), .YC({names[1]}));")
    declared = ",".join(output for _, names, _ in gates for output in names)
    whole = ",".join(net(output) for output in reversed(outputs))
    ports = [f"  input [{a_bits - 1}:0] A;", f"  input [{b_bits - 1}:0] B;", f"  output [{a_bits + b_bits - 1}:0] O;"]
    head = ["/* a circuit */", "// MAE = 0", f"module {name} ( A, B, O );", *ports, "", f"  wire {declared};", ""]
    text = [*head, *reversed(lines), f"  assign O = {{{whole}}};", "", "endmodule"]
    if cells:
        text += [
            f"module {cells}HAX1( input A, input B, output YS, output YC );",
            "  assign YS = A ^ B; assign YC = A & B;",
            "endmodule",
            f"module {cells}FAX1( input A, input B, input C, output YS, output YC );",
            "  assign YS = (A ^ B) ^ C;",
            "  assign YC = (A & B) | (B & C) | (A & C);",
            "endmodule",
        ]
    return "\n".join([*text, ""])
