"""How commands end, beside 0 and the codes of expected errors."""

FAULT = 1
REFUSED = 2
STOPPED = 130
