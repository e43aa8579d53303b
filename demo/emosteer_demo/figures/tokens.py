STRIP_JS = "0"


def strip(tokens, scores, **k):
    return "<p>strip</p>"


def table(*a):
    return "<p>table</p>"
