"""The tables of the worklist in the journal, and how each comes back with a backup."""

from engine.feature import Table

TABLES = (
    Table(
        name="order_item",
        copied="SELECT * FROM main.order_item WHERE written_us >= :since",
        newest="written_us",
        sealed="SELECT 'order_item', number, '', content FROM order_item",
    ),
    Table(
        name="order_event",
        copied="SELECT e.* FROM state.order_item i JOIN main.order_event e ON e.item = i.number",
        sealed="SELECT 'order_event ' || n, item, '', detail FROM order_event WHERE detail <> x''",
    ),
    Table(
        name="order_query",  # an answer that went out a day ago is settled
        copied="SELECT * FROM main.order_query WHERE number > coalesce((SELECT number FROM main.order_query"
        " WHERE at_us < :since - :day ORDER BY number DESC LIMIT 1), 0)",
    ),
    Table(
        name="order_asked",
        copied="SELECT a.* FROM state.order_query q JOIN main.order_asked a ON a.query = q.number",
    ),
    Table(
        name="order_without",
        copied="SELECT w.* FROM state.touched t JOIN main.order_without w ON w.message_id = t.id",
        pruned="message_id",
    ),
    Table(name="order_notice"),
    Table(name="order_usual"),
)
