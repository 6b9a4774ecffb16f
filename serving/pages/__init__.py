"""Pages and pictures that need nothing from elsewhere: one builder of HTML, one style, one set of charts."""
