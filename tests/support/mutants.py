"""Makes small mistakes in a module, one at a time, and counts how many the tests notice: a score of the tests.

    python -m tests.support.mutants planning network.selectors --sample 150

All tests are collected once. Each file of them runs once in a forked process, which tells which tests reach which lines.
Then every mutant gets a process of its own, forked from here: the functions it changes are given their new code, and the
tests that reach the changed line run until one fails. Mistakes outside of functions need the package imported anew.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# ---- mistakes

COMPARED: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
COMPUTED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip
NOTHING = ast.Constant(None)


def mistakes(node: ast.AST) -> Iterator[ast.AST]:  # noqa: C901  one case for each kind of mistake
    """What may stand in a node's place: comparisons, arithmetic, constants, conditions, statements, what is returned."""
    match node:
        case ast.Compare():
            for place, op in enumerate(node.ops):
                for other in COMPARED[type(op)]:
                    ops = [other() if i == place else o for i, o in enumerate(node.ops)]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.BinOp() if type(node.op) in COMPUTED:
            yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
        case ast.AugAssign():
            yield ast.AugAssign(node.target, COMPUTED[type(node.op)](), node.value)
            yield ast.Pass()
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=str()) if " " not in node.value:
            yield ast.Constant(node.value + "!")
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            values = {name: getattr(node, name) for name in node._fields}
            yield type(node)(**{**values, "test": ast.UnaryOp(ast.Not(), node.test)})
        case ast.comprehension(ifs=[ast.Name() | ast.Attribute() | ast.Call() | ast.BoolOp() as test]):
            yield ast.comprehension(node.target, node.iter, [ast.UnaryOp(ast.Not(), test)], node.is_async)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(NOTHING)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(value=value) if not isinstance(value, ast.Constant):
            yield ast.Assign(node.targets, NOTHING)


SKIPPED = (ast.Assert, ast.Import, ast.ImportFrom)
UNSEEN = {"annotation", "returns", "decorator_list", "format_spec", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """One mistake: where it is in the tree, what stood there, what stands there now."""

    module: str
    path: tuple[tuple[str, int | None], ...]
    choice: int
    line: int
    before: str
    after: str
    outside: bool  # of functions: runs when the module is imported

    @property
    def text(self) -> str:
        return f"{self.module}:{self.line}: {self.before}  ->  {self.after}"

    def tree(self) -> ast.Module:
        """The module with the mistake in it."""
        tree: Any = parsed(self.module)
        holder, name, place = None, "", None
        node: Any = tree
        for name, place in self.path:
            holder = node
            node = getattr(node, name) if place is None else getattr(node, name)[place]
        new = ast.copy_location(list(mistakes(node))[self.choice], node)
        if place is None:
            setattr(holder, name, new)
        else:
            getattr(holder, name)[place] = new
        return ast.fix_missing_locations(tree)


def file_of(module: str) -> Path:
    return ROOT / "initdsl" / f"{module.replace('.', '/')}.py"


def modules_of(name: str) -> list[str]:
    """The module of this name, or all of a folder: `planning` is `planning.actions` and its like."""
    if file_of(name).exists():
        return [name]
    folder = ROOT / "initdsl" / name.replace(".", "/")
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
    return [".".join(path.relative_to(ROOT / "initdsl").with_suffix("").parts) for path in files]


def parsed(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text("utf-8"))


def mutants_of(module: str) -> list[Mutant]:
    """Every mistake that can be made in a module."""
    found: list[Mutant] = []

    def visit(node: ast.AST, path: tuple[tuple[str, int | None], ...], outside: bool) -> None:
        for choice, new in enumerate(mistakes(node)):
            line = getattr(node, "lineno", 0) or node.target.lineno  # type: ignore[attr-defined]
            texts = (ast.unparse(ast.fix_missing_locations(one)).split("\n")[0] for one in (node, new))
            found.append(Mutant(module, path, choice, line, *texts, outside))
        for name, value in ast.iter_fields(node):
            if name in UNSEEN:
                continue
            inside = isinstance(node, ast.FunctionDef | ast.Lambda) and name == "body"
            for place, child in enumerate(value) if isinstance(value, list) else ((None, value),):
                if not isinstance(child, ast.AST) or isinstance(child, SKIPPED):
                    continue
                documents = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                prose = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
                names = isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "__all__"
                typed = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                if not (
                    documents
                    or prose
                    or names
                    or typed
                    or (outside and isinstance(child, ast.BinOp) and isinstance(child.op, ast.BitOr))
                ):
                    visit(child, (*path, (name, place)), outside and not inside)

    visit(parsed(module), (), True)
    return found


# ---- a mistake put into effect


def paired(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects of a module and those of its mutant, function by function."""
    yield old, new
    olds, news = ([c for c in code.co_consts if isinstance(c, CodeType)] for code in (old, new))
    if len(olds) != len(news):
        names = {(c.co_qualname, c.co_firstlineno): c for c in news}
        both = [(c, names[c.co_qualname, c.co_firstlineno]) for c in olds if (c.co_qualname, c.co_firstlineno) in names]
    else:
        both = list(zip(olds, news, strict=True))
    for one, other in both:
        yield from paired(one, other)


def functions_of(module: str) -> dict[CodeType, list[FunctionType]]:
    """The functions of an imported module, wherever they are held."""
    file = str(file_of(module))
    found = defaultdict(list)
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == file:
            found[thing.__code__].append(thing)
    return found


def patch(mutant: Mutant, live: dict[CodeType, list[FunctionType]]) -> bool:
    """Give functions their new code; False where that can't be done."""
    file = str(file_of(mutant.module))
    changed = 0
    for old, new in paired(compile(parsed(mutant.module), file, "exec"), compile(mutant.tree(), file, "exec")):
        if old != new:
            for function in live.get(old, ()):
                if len(new.co_freevars) != len(old.co_freevars):
                    return False
                function.__code__ = new
                changed += 1
    return changed > 0


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module of the package with a mistake in it."""

    def __init__(self, mutant: Mutant):
        self.name, self.mutant = f"initdsl.{mutant.module}", mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return (
            importlib.util.spec_from_loader(name, self, origin=str(file_of(self.mutant.module)))
            if name == self.name
            else None
        )

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(file_of(self.mutant.module))
        exec(compile(self.mutant.tree(), module.__file__, "exec"), module.__dict__)


# ---- tests


@dataclass
class Known:
    """What a first run told: how long each test takes, and which tests reach a line."""

    seconds: dict[str, float] = field(default_factory=dict)
    reaching: dict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    failing: list[str] = field(default_factory=list)


class Watch:
    """In a process of its own: says what each test does, and ends one that takes too long by the processor's time."""

    def __init__(self, say: Callable[..., None], limit: Callable[[str], float], stop: bool, caches: list[Any]):
        self.say, self.limit, self.stop, self.caches = say, limit, stop, caches
        signal.signal(signal.SIGPROF, self.late)

    def late(self, *_: Any) -> None:
        if self.stop:
            self.say("late", self.now)
            os._exit(0)
        raise TimeoutError("the test takes too long")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        for cache in self.caches:  # what an earlier test had computed, a later one would neither reach nor notice
            cache.cache_clear()
        self.now, self.failed, start = item.nodeid, False, time.process_time()
        signal.setitimer(signal.ITIMER_PROF, self.limit(item.nodeid))
        yield
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.say("failed" if self.failed else "passed", item.nodeid, time.process_time() - start)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = True
            if self.stop:
                self.say("failed", report.nodeid)
                os._exit(0)


def caches_of(modules: list[str]) -> list[Any]:
    """The functions of modules that keep their results."""
    homes = {f"initdsl.{module}" for module in modules}
    return [t for t in gc.get_objects() if hasattr(type(t), "cache_clear") and t.__module__ in homes]


Job = Callable[[Callable[..., None]], None]


def in_processes(jobs: Iterator[tuple[Any, Job, float]], most: int) -> Iterator[tuple[Any, list[Any]]]:
    """Each job in a forked process, `most` at a time; yields what each said. A job has its limit in seconds."""
    running: dict[int, tuple[Any, int, float, bytearray, str]] = {}
    waiting = True
    while running or waiting:
        while waiting and len(running) < most:
            try:
                name, job, limit = next(jobs)
            except StopIteration:
                waiting = False
                break
            ours, theirs = os.pipe()
            folder = tempfile.mkdtemp(prefix="mutant-")
            sys.stdout.flush()
            process = os.fork()
            if not process:
                os.close(ours)
                os.setsid()
                alone(job, theirs, folder)
            os.close(theirs)
            running[ours] = (name, process, time.monotonic() + limit, bytearray(), folder)
        for pipe in select.select(list(running), [], [], 1)[0] if running else ():
            name, process, _, said, folder = running[pipe]
            got = os.read(pipe, 1 << 16)
            said += got
            if not got:
                yield name, ended(pipe, running.pop(pipe))
        for pipe in [p for p, (_, _, until, _, _) in running.items() if time.monotonic() > until]:
            os.killpg(running[pipe][1], signal.SIGKILL)
            running[pipe][3].extend(b'["late", "all"]\n')
            yield running[pipe][0], ended(pipe, running.pop(pipe))


def ended(pipe: int, run: tuple[Any, int, float, bytearray, str]) -> list[Any]:
    os.close(pipe)
    _, process, _, said, folder = run
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # and what its tests left running
    code = os.waitpid(process, 0)[1]
    shutil.rmtree(folder, ignore_errors=True)
    lines = [json.loads(line) for line in said.decode().splitlines() if line.endswith("]")]
    return [*lines, ["died", code]] if code and ["late", "all"] not in lines and lines[-1:] != [["end"]] else lines


def alone(job: Job, pipe: int, folder: str) -> None:
    """The life of a forked process."""
    import torch

    def say(*words: Any) -> None:
        os.write(pipe, (json.dumps(words) + "\n").encode())

    os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = folder
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    torch.set_num_threads(2)
    try:
        job(say)
    except BaseException:
        say("broken", traceback.format_exc())
    say("end")
    os._exit(0)


def run(items: list[pytest.Item]) -> None:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


class Contexts:
    def __init__(self, cover: Any):
        self.cover = cover

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.cover.switch_context(nodeid)


def first_run(items: list[pytest.Item], modules: list[str], options: argparse.Namespace) -> Known:
    """Every test once, by file, with what it reaches."""
    import coverage

    by_file: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        by_file[item.path].append(item)
    named = {str(file_of(module)): module for module in modules}

    def job(some: list[pytest.Item]) -> Job:
        def go(say: Callable[..., None]) -> None:
            cover = coverage.Coverage(data_file=None, include=list(named), config_file=False)
            manager = some[0].config.pluginmanager
            manager.register(Watch(say, lambda _: options.longest, False, caches_of(modules)))
            manager.register(Contexts(cover))
            cover.start()
            run(some)
            cover.stop()
            data = cover.get_data()
            for file in data.measured_files():
                for line, tests in data.contexts_by_lineno(file).items():
                    say("reaches", named[file], line, [test for test in tests if test])

        return go

    known = Known()
    longest_first = sorted(by_file.items(), key=lambda entry: -len(entry[1]))
    for path, said in in_processes(((path, job(some), 1800) for path, some in longest_first), options.jobs):
        for word, *rest in said:
            if word == "passed":
                known.seconds[rest[0]] = rest[1]
            elif word == "failed":
                known.failing.append(rest[0])
            elif word == "reaches":
                known.reaching[rest[0], rest[1]] += rest[2]
            elif word != "end":
                print(f"{path.name}: {word} {rest}", file=sys.stderr)
    return known


class Harness:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.survived = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        options, items = self.options, {item.nodeid: item for item in session.items}
        for module in ("api", *options.modules):  # imported before the forks, so that none imports them alone
            importlib.import_module(f"initdsl.{module}")
        self.functions = {module: functions_of(module) for module in options.modules}
        gc.freeze()  # what is there stays in memory that the forks share
        if options.known and options.known.exists():
            stored = json.loads(options.known.read_text("utf-8"))
            reaching = {(m, line): tests for m, line, tests in stored["reaching"]}
            known = Known(stored["seconds"], defaultdict(list, reaching), stored["failing"])
        else:
            known = first_run(list(items.values()), options.modules, options)
            if options.known:
                lines = [[m, line, tests] for (m, line), tests in known.reaching.items()]
                text = json.dumps({"seconds": known.seconds, "failing": known.failing, "reaching": lines})
                options.known.write_text(text, "utf-8")
        print(f"{len(known.seconds)} tests pass; left out: {len(known.failing)}, {known.failing[:9]}", flush=True)
        for module in options.modules:
            self.module(module, items, known)
        return True

    def module(self, module: str, items: dict[str, pytest.Item], known: Known) -> None:
        options = self.options
        every = mutants_of(module)
        some = every
        if options.sample and options.sample < len(every):
            some = sorted(random.Random(options.seed).sample(every, options.sample), key=lambda m: m.line)
        if options.again:
            wanted = {
                (m["module"], m["before"], m["after"])
                for m in map(json.loads, options.again.read_text().splitlines())
                if m["result"] in ("survived", "unreached")
            }
            some = [m for m in every if (m.module, m.before, m.after) in wanted]

        def tests_of(mutant: Mutant) -> list[pytest.Item]:
            lines = [line for m, line in known.reaching if m == module] if mutant.outside else [mutant.line]
            names = {name for line in lines for name in known.reaching[module, line] if name in known.seconds}
            home = f"tests/{module.partition('.')[0]}/"
            return [items[n] for n in sorted(names, key=lambda n: (home not in n, known.seconds[n], n)) if n in items]

        def job(mutant: Mutant) -> Job:
            return lambda say: trial(mutant, self.functions[module], tests_of(mutant), known, options.budget, say)

        jobs = ((m, job(m), 60 + 20 * options.budget) for m in some if tests_of(m))
        results: dict[Mutant, tuple[str, str]] = dict.fromkeys(some, ("unreached", ""))
        start = time.monotonic()
        for mutant, said in in_processes(jobs, options.jobs):
            words = [one for one in said if one[0] in ("failed", "late", "died", "broken", "budget")]
            verdict = words[0] if words else ["survived", ""]
            kind = {"failed": "killed", "late": "killed", "died": "killed", "budget": "survived"}.get(
                verdict[0], verdict[0]
            )
            results[mutant] = (kind, " ".join(map(str, verdict)) if words else "")
            if options.results:
                with open(options.results, "a", encoding="utf-8") as file:
                    record = {"module": module, "line": mutant.line, "before": mutant.before, "after": mutant.after}
                    file.write(json.dumps({**record, "result": kind, "by": results[mutant][1]}) + "\n")
            if kind != "killed":
                print(f"{kind}: {mutant.text}  {results[mutant][1][:300]}", flush=True)
        for mutant in [m for m, (kind, _) in results.items() if kind == "unreached"]:
            print(f"unreached: {mutant.text}", flush=True)
            if options.results:
                with open(options.results, "a", encoding="utf-8") as file:
                    record = {"module": module, "line": mutant.line, "before": mutant.before, "after": mutant.after}
                    file.write(json.dumps({**record, "result": "unreached", "by": ""}) + "\n")
        killed = sum(kind == "killed" for kind, _ in results.values())
        print(
            f"{module}: {killed} of {len(some)} mutants killed ({killed / max(1, len(some)):.0%}), out of {len(every)} there are; {time.monotonic() - start:.0f} s",
            flush=True,
        )


def trial(
    mutant: Mutant,
    functions: dict[CodeType, list[FunctionType]],
    items: list[pytest.Item],
    known: Known,
    budget: float,
    say: Callable[..., None],
) -> None:
    """Run tests on a mutant until one fails or the budget of seconds is used up."""
    chosen, total = [], 0.0
    for item in items:
        total += known.seconds[item.nodeid]
        if total > budget and chosen:
            break
        chosen.append(item)

    def limit(name: str) -> float:
        return 5 + 10 * known.seconds.get(name, 1)

    if not mutant.outside and patch(mutant, functions):
        chosen[0].config.pluginmanager.register(Watch(say, limit, True, caches_of([mutant.module])))
        run(chosen)
    else:
        names = [item.nodeid for item in chosen]
        for name in list(sys.modules):
            if name.partition(".")[0] == "initdsl" or name.partition(".")[0] == "tests":
                del sys.modules[name]
        sys.meta_path.insert(0, Mutated(mutant))
        if pytest.main(
            ["-q", "-s", "--assert=plain", "-x", "-p", "no:cacheprovider", *names],
            plugins=[Watch(say, limit, True, [])],
        ) not in (0, 5):
            say("failed", "when imported anew")
    if len(chosen) < len(items):
        say("budget", f"{len(chosen)} of {len(items)} tests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="+", help="modules of the package, or folders")
    parser.add_argument("--sample", type=int, default=150, help="how many mutants of a module; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=30, help="seconds of tests for a mutant")
    parser.add_argument("--longest", type=float, default=10, help="tests that take more seconds are left out")
    parser.add_argument("--tests", nargs="*", default=["tests"])
    parser.add_argument("--known", type=Path, help="keep what the first run told in this file")
    parser.add_argument("--results", type=Path, help="add a line of JSON for each mutant to this file")
    parser.add_argument("--again", type=Path, help="only what survived in this file of results")
    options = parser.parse_args()
    options.modules = [module for name in options.modules for module in modules_of(name)]

    import hypothesis
    import torch

    torch.set_num_threads(1)  # no threads before the forks
    hypothesis.settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    hypothesis.settings.load_profile("mutants")
    os.chdir(ROOT)
    words = ["-q", "-s", "--assert=plain", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist", *options.tests]
    sys.exit(pytest.main(words, plugins=[Harness(options)]) not in (0, 1, 5))


if __name__ == "__main__":
    main()
