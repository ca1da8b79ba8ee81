"""The database: schema, migrations, transactions and one query module per noun. All SQL lives here."""
