"""An HTTP server for trained models: the LibreTranslate API, our additions, and a web page."""
