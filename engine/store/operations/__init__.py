"""Operations of the journal: functions of a `Batch`, declared by `engine.store.core.operation` and carried out by
`Journal.run`.
"""
