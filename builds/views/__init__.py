"""Pages: one module for each thing that they are about. Views load one view-model and render it."""
