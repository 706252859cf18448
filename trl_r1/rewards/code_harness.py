"""What asks a program's functions, inside the sandbox. Never imported: its text runs in front of the program's.

It holds no secret: the calls, and a nonce that keeps what the program prints apart from what its functions return.
"""

import json
import os
import sys


def encode(value, depth=0):  # type: ignore[no-untyped-def]
    """A value as nested lists; what is no plain data becomes ["o", its type], which equals nothing."""
    if value is None:
        return ["n"]
    if depth < 60:
        if isinstance(value, bool):
            return ["b", int(value)]
        if isinstance(value, int):
            return ["i", hex(int(value))]
        if isinstance(value, float):
            return ["f", float(value).hex()]
        if isinstance(value, complex):
            return ["c", value.real.hex(), value.imag.hex()]
        if isinstance(value, str):
            return ["s", str(value)]
        if isinstance(value, (bytes, bytearray)):
            return ["y", bytes(value).hex()]
        for kinds, tag in ((list, "l"), (tuple, "t"), ((set, frozenset), "e")):
            if isinstance(value, kinds):
                return [tag, [encode(item, depth + 1) for item in value]]
        if isinstance(value, dict):
            return ["d", [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]]
        if hasattr(type(value), "tolist"):  # numpy
            return encode(value.tolist(), depth + 1)
    return ["o", type(value).__name__]


def decode(encoded):  # type: ignore[no-untyped-def]
    kind, *rest = encoded
    return {
        "n": lambda: None,
        "b": lambda: bool(rest[0]),
        "i": lambda: int(rest[0], 16),
        "f": lambda: float.fromhex(rest[0]),
        "c": lambda: complex(float.fromhex(rest[0]), float.fromhex(rest[1])),
        "s": lambda: rest[0],
        "y": lambda: bytes.fromhex(rest[0]),
        "l": lambda: [decode(item) for item in rest[0]],
        "t": lambda: tuple(decode(item) for item in rest[0]),
        "e": lambda: {decode(item) for item in rest[0]},
        "d": lambda: {decode(key): decode(item) for key, item in rest[0]},
    }[kind]()


def answer(program, calls, nonce, imports):  # type: ignore[no-untyped-def]
    import ast
    import importlib

    out = os.dup(1)
    module = type(sys)("program")
    sys.modules["program"] = module
    scope = module.__dict__
    scope["decode"] = decode

    def find_function(name):  # type: ignore[no-untyped-def]
        return scope[name] if name in scope else getattr(scope["Solution"](), name)

    exec(imports, scope)
    exec(compile(program, "program.py", "exec"), scope)
    scope.setdefault("find_function", find_function)
    scope.setdefault("inf", float("inf"))
    scope.setdefault("nan", float("nan"))
    for call in calls:
        for node in ast.walk(ast.parse(call)):
            if isinstance(node, ast.Name) and node.id not in scope and node.id in sys.stdlib_module_names:
                scope[node.id] = importlib.import_module(node.id)
    values = [encode(eval(call, scope)) for call in calls]
    data = ("\n" + nonce + " " + json.dumps(values)).encode()
    sys.stdout.flush()
    while data:
        data = data[os.write(out, data) :]
    os._exit(0)  # what the program left for the end cannot write behind it
