"""report.html: the figures and rows of a dataset on one page that opens offline."""
