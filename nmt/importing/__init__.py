"""Import models of other toolkits into run folders. The files of a model are untrusted input."""
