"""How a result follows those accepted before it: the table of statuses, and the results in a document. Pure."""
