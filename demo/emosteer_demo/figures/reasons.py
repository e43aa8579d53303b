def why(**a):
    return "<p>why</p>"
