"""The whole pipeline against a model of it: what each row must be after any steps in any order."""
