"""Python's generators and greenlets for `squall-bench kinds`.

Arguments: the kind, the row and how many times. Prints one figure: nanoseconds of CPU time, or resident bytes, for each.
"""

import os
import sys
import time


def cpu():
    return time.process_time_ns()


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def generators():
    def endless():
        while True:
            yield

    def once(n):
        yield n

    def begin():
        one = endless()
        next(one)
        return one

    return begin, next, lambda n: next(once(n))


def greenlets():
    from greenlet import getcurrent, greenlet

    parent = getcurrent()

    def endless():
        while True:
            parent.switch()

    def begin():
        one = greenlet(endless)
        one.switch()
        return one

    return begin, greenlet.switch, lambda n: greenlet(lambda: n).switch()


def main(kind, row, times):
    begin, resume, whole = generators() if kind == "generator" else greenlets()
    if row in ("switch-1", "switch-1000"):
        many = [begin() for _ in range(1 if row == "switch-1" else 1000)]
        began = cpu()
        for _ in range(times):
            for one in many:
                resume(one)
        return (cpu() - began) / (len(many) * times)
    if row == "create":
        began = cpu()
        for n in range(times):
            assert whole(n) == n
        return (cpu() - began) / times
    if row == "keep":
        kept = [begin() for _ in range(100)]
        before = resident()
        kept += [begin() for _ in range(times)]
        return (resident() - before) / times
    raise SystemExit(f"there is no row {row}")


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3])), flush=True)
    # What was made is not taken apart: only making it was asked for.
    os._exit(0)
