"""In what order the stages run, and where: graphs, runner, projects and the command line."""
