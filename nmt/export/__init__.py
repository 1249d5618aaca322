"""Export trained models to the formats of CTranslate2 and Hugging Face's transformers."""
