; What of a rule file has which colour. No token has two, whichever of two patterns an editor prefers.

(comment) @comment
(string) @string
(regex) @string.regexp
(number) @number
(constant) @constant.builtin

["tie" "copy" "keep" "default" "let" "use" "expect"] @keyword
["in" "not" "as" "and" "or" "tied"] @keyword.operator
[(measure) (state)] @keyword.operator
["net" "it"] @variable.builtin

(class) @type
(segment) @property

(let name: (identifier) @constant)
(call function: (identifier) @function)
(argument name: (identifier) @variable.parameter)
(predicate name: (identifier) @variable.parameter)
"len" @function
(name (identifier) @variable)

["~" "=" "+=" "-=" "*=" "/=" "==" "!=" "<" "<=" ">" ">=" "+" "-" "*" "/" "//" "%" "**" "!"] @operator
[(subclasses) (every) "?"] @operator

["(" ")" "[" "]" "{" "}"] @punctuation.bracket
["," ";" ":" "." (ellipsis)] @punctuation.delimiter
