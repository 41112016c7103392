"""The tables of this feature, with all of its SQL.

The tables of what people say to the to-do list.
"""

from engine.feature import Table

TABLES = (Table(name="todo"), Table(name="todo_look"))
