"""The tables of what people say to the to-do list."""

from engine.feature import Table

TABLES = (Table(name="todo"), Table(name="todo_look"))
