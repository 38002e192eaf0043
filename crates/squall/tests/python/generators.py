"""Runs generator programs, as tests/generator_python.rs does in Rust, and prints the same trace.

Input, one program after another: a line `program N`, the body as JSON, the calls as JSON. A body is a list of statements:
["yield", v] ["catch", v, on_throw, on_close] ["from", body] ["catch_from", body, on_throw] ["finally", name, body] ["raise", e] ["return", v]
Each body becomes the source of a generator function, so that every `yield` stands where Python itself would have it.
"""

import itertools
import json
import sys


class Thrown(Exception):
    pass


numbers = itertools.count()


def source(name, statements, indent):
    """A generator function of that name, as lines."""
    yield f"{indent}def {name}():"
    yield f"{indent}    if False: yield"
    yield from block(statements, indent + "    ")


def block(statements, indent):
    yield f"{indent}pass"
    for kind, *rest in statements:
        n = next(numbers)
        if kind == "yield":
            yield f"{indent}got = yield {rest[0]}"
            yield f"{indent}log('  got', got)"
        elif kind == "catch":
            value, on_throw, on_close = rest
            yield f"{indent}h{n} = 0"
            yield f"{indent}try:"
            yield f"{indent}    got = yield {value}"
            yield f"{indent}    log('  got', got)"
            yield f"{indent}except Thrown as thrown:"
            yield f"{indent}    log('  caught', thrown)"
            yield f"{indent}    h{n} = 1"
            yield f"{indent}except GeneratorExit:"
            yield f"{indent}    log('  closing')"
            yield f"{indent}    h{n} = 2"
            yield f"{indent}if h{n} == 1:"
            yield from block(on_throw, indent + "    ")
            yield f"{indent}elif h{n} == 2:"
            yield from block(on_close, indent + "    ")
            yield f"{indent}    return None"
        elif kind == "from":
            yield from source(f"b{n}", rest[0], indent)
            yield f"{indent}value = yield from b{n}()"
            yield f"{indent}log('  value', value)"
        elif kind == "catch_from":
            inner, on_throw = rest
            yield from source(f"b{n}", inner, indent)
            yield f"{indent}h{n} = 0"
            yield f"{indent}try:"
            yield f"{indent}    value = yield from b{n}()"
            yield f"{indent}    log('  value', value)"
            yield f"{indent}except Thrown as thrown:"
            yield f"{indent}    log('  caught', thrown)"
            yield f"{indent}    h{n} = 1"
            yield f"{indent}if h{n} == 1:"
            yield from block(on_throw, indent + "    ")
        elif kind == "finally":
            name, inner = rest
            yield f"{indent}try:"
            yield from block(inner, indent + "    ")
            yield f"{indent}finally:"
            yield f"{indent}    log('  finally', {name})"
        elif kind == "raise":
            yield f"{indent}raise Thrown({rest[0]})"
        elif kind == "return":
            yield f"{indent}return {rest[0]}"


def call(generator, what):
    try:
        if what[0] == "next":
            print(" yields", next(generator))
        elif what[0] == "send":
            print(" yields", generator.send(what[1]))
        elif what[0] == "throw":
            print(" yields", generator.throw(Thrown(what[1])))
        else:
            generator.close()
            print(" closed")
    except StopIteration as end:
        print(" ends", end.value)
    except Thrown as thrown:
        print(" raises", thrown)
    except TypeError:
        print(" not started")
    except RuntimeError:
        print(" ignored exit")


# What Python does when it collects a generator is not compared.
sys.unraisablehook = lambda _: None
lines = iter(sys.stdin)
for line in lines:
    print(line.strip())
    statements, calls = json.loads(next(lines)), json.loads(next(lines))
    scope = {"log": print, "Thrown": Thrown}
    exec("\n".join(source("program", statements, "")), scope)
    generator = scope["program"]()
    for what in calls:
        print(" ".join(str(word) for word in what))
        call(generator, what)
    scope["log"] = lambda *_: None
    del generator
