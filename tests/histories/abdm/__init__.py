"""Random histories of laboratories at ABDM against a model of what each patient's app may show, and must in the end."""
