from genpi_plugin.evaluation.cli import main

main()
