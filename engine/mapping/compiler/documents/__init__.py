"""Steps to the parts of a document: resources and their elements, segments, members, facts."""
