"""From a file of YAML to values: nodes, models, secrets, problems, words for the documentation."""
