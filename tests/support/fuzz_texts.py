"""Rule files grown from the grammar by bytes, for the fuzzer: every byte is a choice, so that a mutation is another text.

    grown(b"\\x03\\x11...")   ->   "Linear.weight ~ normal(0, it0.02)"

Names stand glued to numbers, brackets are sometimes left out, and a word may be one that a small model has.
"""

from __future__ import annotations

from functools import cache

from lark import Lark
from lark.grammar import NonTerminal, Rule, Terminal

from initdsl.language.syntax.grammar import grammar_text, keywords, terminals

# what may stand for a terminal that is a pattern
WORDS = {
    "NAME": (
        "a", "i", "std", "normal", "uniform", "load", "orthogonal", "trunc_normal", "kaiming_normal", "sqrt", "abs", "x1e5",
        "fan_in", "fan_out", "shape", "numel", "weight", "bias", "in_features", "groups", "mean", "low", "high", "gain", "key",
        "cfg", "e", "linspace", "min", "sum", "base_shape", "map", "eye", "constant", "lsuv", "nonlinearity", "relu", "été",
    ),
    "CLASS": ("Linear", "*", "Sequential", "BatchNorm1d", "*Norm*", "Lin*", "nn", "torch", "Embedding", "Module", "x"),
    "STEP": ("weight", "bias", "*", "**", "a", "0", "1", "w*", "in", "net", "running_mean", "original", "in_features"),
    "NUMBER": (
        "0", "1", "2", "0.02", ".5", "1.", "1e-3", "9223372036854775807", "9223372036854775808", "1e400", "0x1", "1_0", "0.5x",
        "00", "1e", "1__0", "3.4.5", "1e5it", "64", "10000", "0.02std",
    ),
    "STRING": ('""', '"a"', '"x.safetensors"', '"../a.init"', '"initdsl:gpt2"', '"\\u0000"', '"\\ud800"', '"0"', '"\\q"'),
    "REGEX": ("/weight/", "/w.*t$/", "/(/", "/a{9}{9}/", "/[/", "/\\//", "/(?P<a>x)/"),
    "EDIT": ("+=", "-=", "*=", "/="),
    "COMPARE": ("==", "!=", "<", "<=", ">", ">="),
    "NL": ("\n", "\r\n", "\n\n  "),
    "MEASURE": ("mean", "std", "min", "max", "norm", "values", "shape"),
    "STATE": ("covered", "finite"),
}  # fmt: skip

OTHERS = {
    "SET": "=", "NOT_MARK": "!", "DOT": ".", "DOT_FREE": ".", "TIED": "tied ", "LEN": "len", "MAYBE": "?", "PLUS_GLUED": "+",
    "LPAR_GLUED": "(", "LSQB_GLUED": "[",
}  # fmt: skip

# what touches the word before it
GLUED = {"LPAR_GLUED", "LSQB_GLUED", "PLUS_GLUED", "MAYBE", "DOT", "STEP"}

# rules of which most take the first form
CHAIN = {
    "expr",
    "conjunction",
    "negation",
    "comparison",
    "sum",
    "product",
    "factor",
    "power",
    "postfix",
    "within",
    "selector",
}

# how many words one text has at most, and from which depth on the shortest form is taken
LONGEST, DEEPEST = 400, 30


@cache
def rules() -> dict[str, list[Rule]]:
    """The forms of every rule of the grammar, as lark writes them out, the shortest first."""
    lark = Lark(grammar_text(), parser="lalr", keep_all_tokens=True, maybe_placeholders=False)
    forms: dict[str, list[Rule]] = {}
    for rule in lark.rules:
        forms.setdefault(rule.origin.name, []).append(rule)
    least: dict[str, int] = {}  # the words of the shortest text of each rule
    while len(least) < len(forms):
        for name, own in forms.items():
            cost = min(sum(1 if s.is_term else least.get(s.name, 10**6) for s in rule.expansion) for rule in own)
            if cost < 10**6:
                least[name] = cost
    for own in forms.values():
        own.sort(key=lambda rule: sum(1 if s.is_term else least[s.name] for s in rule.expansion))
    return forms


@cache
def words(terminal: str) -> tuple[str, ...]:
    if terminal in WORDS:
        return WORDS[terminal]
    word = next((word for word in keywords() if word.upper() == terminal), OTHERS.get(terminal))
    return (terminals()[terminal].replace("\\", "") if word is None else word,)


def grown(data: bytes) -> str:
    """Return the text that these bytes choose; where they end, the shortest one that goes on from there."""
    choices = iter(data)
    forms, pieces = rules(), []
    stack: list[tuple[NonTerminal | Terminal, int]] = []
    for _ in range(1 + next(choices, 0) % 6):
        stack += [(NonTerminal("block" if next(choices, 0) % 4 == 3 else "statement"), 0), (Terminal("NL"), 0)]
    stack.reverse()
    while stack and len(pieces) < LONGEST:
        symbol, depth = stack.pop()
        choice = next(choices, 0)
        if symbol.is_term:
            choice, how = divmod(choice, 8)
            of = words(symbol.name)
            # seven times in eight as one writes it, else touching what stands before or apart from it
            touches = (symbol.name in GLUED) is not (how == 7)
            pieces.append(("" if touches else " ") + of[choice % len(of)])
            continue
        own = forms[symbol.name]
        # an expression has ten rules within each other: most are only the next one
        usual = 160 if symbol.name in CHAIN else 0
        form = own[0] if depth > DEEPEST or choice < usual else own[choice % len(own)]
        stack += [(inner, depth + 1) for inner in reversed(form.expansion)]
    return "".join(pieces).strip(" ")
