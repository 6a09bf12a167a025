"""The report by brute force: what the program computes incrementally, computed again from the plain definitions.

    arrival.py    which events of a log count, and which came too late
    facts.py      what happened to one contact, told once, in event order
    business.py   seconds inside working hours, shift by shift
    filters.py    filters, and what they let through
    outcomes.py   what became of a contact, as its origin counts it
    report.py     the `metrics` object: facts, filtered and counted
    lists.py      the rows of the ten lists: the same facts, one by one
    instants.py   instants as whole microseconds
    histories.py  histories and arrivals to compare over, drawn by hypothesis or by a seed (choices.py)
    lives.py      what can happen to a contact, and the accounts it happens in

Nothing here imports the program or was written by looking at it; that is its whole value. When the two differ, read the
definition, not the other implementation.
"""
