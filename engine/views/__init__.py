"""Views: how a message, a dead letter, an act or a channel is shown, declared once for tables, JSON and sentences.

A view (`engine.views.view`) lists the fields of one noun: the name in JSON, the heading in a table, the source of the
value. Commands and the status page render it. No module here imports click, HTML or HTTP: any server of JSON can render
the same views.

view               fields and views                     text               cells, tables, lines for people
messages           messages, deliveries, attempts       message_in_full    one message with its history
acts, trail        the audit trail                      letter_in_full     the dead letters of one message
site               channels, destinations, pauses       wire               frames on a line
encoding           rows as JSON                         copies             copies of the journal
message_tree       fields with names, values, rules     as_sent            mapped today, with its decisions
field_names        as the standards name fields         document_lines     a document as lines with places
mapping_test       a message as a mapping test, without its patient

Those of a feature are its ``lists``.
"""
