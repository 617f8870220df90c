// The initdsl language, version 1, for editors: the rules of grammar/initdsl.lark, in its order and by its names.
//
// src/scanner.c reads what asks for a look ahead or back: the newlines that end a statement, words, and brackets, dots
// and stars that touch what stands in front of them (`_glued_...`). Rules that begin with `_` make no node; where the
// lark file gives an alternative another name, `-> binary`, such a rule has that name as its alias.
//
// `make generated` writes src/parser.c. tests/syntax/test_tree_sitter.py compares both grammars.

const WORDS = [
  // names everywhere else
  "len", "tied", "mean", "std", "min", "max", "norm", "values", "shape", "covered", "finite",
  // reserved everywhere but after a dot
  "tie", "copy", "keep", "default", "let", "use", "in", "as", "not", "and", "or", "net", "it", "true", "false", "none",
  "inf", "nan", "pi", "expect",
];

const word = ($, text) => alias($[`_${text}`], text);
const words = ($, ...texts) => choice(...texts.map((text) => word($, text)));
const identifier = ($) => alias($._word, $.identifier);

// a token behind which a statement goes on in the next line
const onward = ($, token) => seq(token, optional($._goes_on));
// a token that no dot may touch
const apart = ($, token) => seq(token, optional($._apart));

const separated = ($, rule) => seq(rule, repeat(seq(onward($, ","), rule)));
const enclosed = ($, rule) => seq(separated($, rule), optional(","));
const operation = ($, left, operator, right) =>
  seq(field("left", left), onward($, field("operator", operator)), field("right", right));
const prefixed = ($, operator, operand) => seq(onward($, field("operator", operator)), field("operand", operand));

// statements, all but the last with an end
const body = ($) =>
  seq(repeat(choice($._newline, ";", seq($._statement, choice($._newline, ";")), $.block)), optional($._statement));
// conditions and `+`, by turns
const marks = ($) => seq(optional($.predicates), repeat(seq($.subclasses, $.predicates)), optional($.subclasses));

module.exports = grammar({
  name: "initdsl",

  extras: ($) => [/[ \t\n]|\r\n/, $.comment, $._gap],

  // in the order of src/scanner.c, which reads all but the last: of those it asks whether they could stand here
  externals: ($) => [
    $._gap, $._newline, "{", "(", "[", ")", "]", $._glued_paren, $._glued_bracket, $._dot, $._glued_dot, $._star,
    $._glued_star, ...WORDS.map((word) => $[`_${word}`]),
    $._goes_on, $._apart, $._any_word, $._glued_word, $._mistake,
  ],

  rules: {
    start: body,

    block: ($) => seq(field("targets", $.targets), "{", body($), "}"),

    _statement: ($) => choice($.assign, $.tie, $.copy, $.keep, $.default, $.let, $.use, $.expect),

    assign: ($) => seq(field("targets", $.targets), field("operator", $._assigns), field("value", $._expr)),
    tie: ($) => seq(apart($, word($, "tie")), repeat1(field("operand", $._optional))),
    copy: ($) => seq(apart($, word($, "copy")), field("operand", $._optional), repeat1(field("operand", $._optional))),
    keep: ($) => seq(apart($, word($, "keep")), field("targets", $.targets)),
    default: ($) => seq(apart($, word($, "default")), field("targets", $.targets)),
    let: ($) => seq(word($, "let"), field("name", identifier($)), "=", field("value", $._expr)),
    use: ($) => seq(word($, "use"), field("path", $.string)),
    expect: ($) =>
      seq(
        apart($, word($, "expect")),
        choice(
          seq(field("targets", $.targets), choice($._between, $._compared, field("state", $.state))),
          seq(word($, "tied"), field("operand", $._optional), repeat1(field("operand", $._optional))),
        ),
      ),
    _between: ($) =>
      seq(
        field("measure", $.measure), onward($, field("operator", word($, "in"))), "[", field("bound", $._expr), ",",
        field("bound", $._expr), optional(","), "]",
      ),
    _compared: ($) =>
      seq(
        field("measure", $.measure),
        choice(field("operator", "="), onward($, field("operator", $._compares))),
        field("bound", $._sum),
      ),

    // ---- selectors

    targets: ($) => separated($, $._optional),
    _optional: ($) => choice($._within, $.optional),
    optional: ($) => seq($._within, apart($, token.immediate("?"))),
    _within: ($) => choice($._selector, $.within),
    within: ($) =>
      seq(
        field("selector", $._within),
        optional(onward($, word($, "not"))), onward($, apart($, word($, "in"))),
        field("container", $._selector),
      ),
    _selector: ($) => choice($.path, $.view, $.regex, $.group),
    view: ($) => seq(field("path", $.path), word($, "as"), field("shape", $.shape), field("index", optional($.index))),
    group: ($) => seq("(", $.targets, apart($, ")")),

    path: ($) =>
      seq(
        field("root", choice(word($, "net"), $.class, alias($._free_step, $.step), alias($._free_index, $.index))),
        marks($),
        repeat(seq(choice($.step, $.index), marks($))),
      ),
    _free_step: ($) => seq(alias($._dot, "."), field("name", $.segment)),
    _free_index: ($) => seq("[", $._items, "]"),
    step: ($) => seq(alias($._glued_dot, "."), field("name", $.segment)),
    predicates: ($) => seq(alias($._glued_paren, "("), enclosed($, $.predicate), ")"),
    subclasses: () => token.immediate("+"),
    predicate: ($) =>
      choice(
        field("name", identifier($)),
        seq("!", field("name", identifier($))),
        seq(field("name", identifier($)), field("operator", choice("=", $._compares)), field("value", $._sum)),
      ),

    index: ($) => seq(alias($._glued_bracket, "["), $._items, apart($, "]")),
    _items: ($) => enclosed($, $._item),
    _item: ($) => choice($._expr, $.slice, $.every, $.ellipsis),
    slice: ($) =>
      seq(
        field("start", optional($._expr)), ":", field("stop", optional($._expr)),
        optional(seq(":", field("step", optional($._expr)))),
      ),
    every: () => "*",
    ellipsis: () => "...",
    shape: ($) => seq("(", enclosed($, $._expr), apart($, ")")),

    // ---- expressions, Python's precedence; comparisons don't chain

    _expr: ($) => choice($._conjunction, alias($._ored, $.binary)),
    _ored: ($) => operation($, $._expr, word($, "or"), $._conjunction),
    _conjunction: ($) => choice($._negation, alias($._anded, $.binary)),
    _anded: ($) => operation($, $._conjunction, word($, "and"), $._negation),
    _negation: ($) => choice($._comparison, alias($._negated, $.unary)),
    _negated: ($) => prefixed($, word($, "not"), $._negation),
    _comparison: ($) => choice($._sum, alias($._compared_values, $.binary)),
    _compared_values: ($) => operation($, $._sum, $._compares, $._sum),
    _sum: ($) => choice($._product, alias($._added, $.binary)),
    _added: ($) => operation($, $._sum, choice("+", "-"), $._product),
    _product: ($) => choice($._factor, alias($._multiplied, $.binary)),
    _multiplied: ($) => operation($, $._product, choice("*", "/", "//", "%"), $._factor),
    _factor: ($) => choice($._power, alias($._signed, $.unary)),
    _signed: ($) => prefixed($, choice("+", "-"), $._factor),
    _power: ($) => choice($._postfix, alias($._raised, $.binary)),
    _raised: ($) => operation($, $._postfix, "**", $._factor),
    _postfix: ($) => choice($._base, $.number, $.mapping),
    // what a dot may touch; a bracket may touch a number too, if that does not end in a dot
    _base: ($) =>
      choice(
        $.subscript, $.member, $.call, $.length, $.string, $.constant, $.name, $.parenthesis, $.tuple, $.list,
      ),
    subscript: ($) =>
      seq(field("base", choice($._base, alias($._number, $.number))), alias($._glued_bracket, "["), $._items, "]"),
    member: ($) => seq(field("base", $._base), alias($._glued_dot, "."), field("name", $.segment)),
    call: ($) =>
      seq(field("function", identifier($)), alias($._glued_paren, "("), optional(enclosed($, $.argument)), ")"),
    length: ($) => seq(word($, "len"), alias($._glued_paren, "("), field("targets", $.targets), ")"),
    constant: ($) => words($, "true", "false", "none", "inf", "nan", "pi"),
    name: ($) => choice(identifier($), word($, "it"), word($, "net")),
    parenthesis: ($) => seq("(", $._expr, ")"),
    tuple: ($) => seq("(", $._expr, ",", optional(enclosed($, $._expr)), ")"),
    list: ($) => seq("[", optional(enclosed($, $._expr)), "]"),
    mapping: ($) => seq("{", optional(seq(separated($, $.pair), optional(onward($, ",")))), "}"),
    pair: ($) => seq(field("key", $.string), ":", field("value", $._expr)),
    argument: ($) => seq(optional(seq(field("name", identifier($)), "=")), field("value", $._expr)),

    // ---- words of an expectation: names everywhere else

    measure: ($) => words($, "mean", "std", "min", "max", "norm", "values", "shape"),
    state: ($) => words($, "covered", "finite"),

    // ---- names

    _word: () => /[\p{L}\p{Nl}\p{No}_][\p{L}\p{N}_]*/,
    _any_word: () => /[\p{L}\p{N}_]+/,
    _glued_word: () => token.immediate(/[\p{L}\p{N}_]+/),
    class: ($) => seq(choice($._word, $._star), repeat(choice($._glued_word, $._glued_star))),
    segment: ($) => seq(choice($._any_word, $._star), repeat(choice($._glued_word, $._glued_star))),

    // ---- literals

    number: ($) => choice($._number, $._number_and_dot),
    _number: () => /\.?\p{Nd}(\.?[eE][+-]\p{Nd}|\.?[\p{L}\p{N}_])*/,
    _number_and_dot: () => /\.?\p{Nd}(\.?[eE][+-]\p{Nd}|\.?[\p{L}\p{N}_])*\./,
    string: () => /"(\\.|[^"\\\n])*"/,
    regex: () => /\/(\\.|[^ =*\/\\\n])(\\.|[^\/\\\n])*\//,

    // ---- operators and comments

    _assigns: () => choice("~", "=", "+=", "-=", "*=", "/="),
    _compares: () => choice("==", "!=", "<", "<=", ">", ">="),
    comment: () => /#[^\r\n]*/,
  },
});
