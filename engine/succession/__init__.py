"""How a result follows those accepted before it: the table of statuses, and what a document states. Pure."""
